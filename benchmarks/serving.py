#!/usr/bin/env python
# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A server under load, beside the predictor on its own: the same model, pictures, batch and threads.

python benchmarks/serving.py --seconds 60                                  # R18 at 320x320, random weights
python benchmarks/serving.py --model_dir output_inference/NAME --engine openvino --output serving.json

The predictor runs alone before the server starts and after it has ended; the server is asked by 16 clients meanwhile,
each over one connection, a picture a request. Prints pictures per second and their ratio, p50 and p99 of a request,
errors, and the memory of all the server's processes while it was under load.
"""
import argparse
import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import cv2
import psutil
from inference import export
from machine import about

REPO = Path(__file__).resolve().parents[1]
SIDES = (480, 640)
PREDICTOR = """
import sys, time
from ppdet_ext.startup import environment
environment.setup()
from ppdet_ext.deploy import Predictor
model, engine, batch, threads, seconds, *files = sys.argv[1:]
predictor = Predictor(model, engine=engine or None, batch_size=int(batch), cpu_threads=int(threads))
batches = [files[start:start + int(batch)] for start in range(0, len(files), int(batch))]
def run(seconds):
    begin, count = time.perf_counter(), 0
    while time.perf_counter() < begin + seconds:
        for one in batches:
            count += len(predictor.predict(one))
    return count / (time.perf_counter() - begin)
run(float(seconds) / 5)
print(run(float(seconds)))
"""


def pictures(folder, count=16):
    """Paths of JPEGs of one size, of a photograph's parts."""
    from skimage import data

    photograph = cv2.resize(cv2.cvtColor(data.coffee(), cv2.COLOR_RGB2BGR), (960, 720))
    paths = []
    for number in range(count):
        y, x = number * 13 % (720 - SIDES[0]), number * 29 % (960 - SIDES[1])
        paths.append(folder / f"{number}.jpg")
        cv2.imwrite(str(paths[-1]), photograph[y:y + SIDES[0], x:x + SIDES[1]])
    return paths


def alone(args, model, files):
    """Pictures per second of the predictor on its own, in a process of its own."""
    words = [model, args.engine or "", args.batch_size, args.threads, args.seconds / 2, *files]
    done = subprocess.run([sys.executable, "-c", PREDICTOR, *map(str, words)], cwd=REPO, capture_output=True, text=True,
                          check=True)
    return float(done.stdout.splitlines()[-1])


class Server:
    """The server's process, and what its processes take."""

    def __init__(self, args, model):
        command = [sys.executable, REPO / "tools" / "serve.py", "--model_dir", model, "--port", "0", "--batch_size",
                   args.batch_size, "--cpu_threads", args.threads, "--replicas", args.replicas,
                   *(["--engine", args.engine] if args.engine else [])]
        self.process = psutil.Popen([str(word) for word in command], cwd=REPO, stdout=subprocess.PIPE, text=True)
        for line in self.process.stdout:
            print(line, end="", flush=True)
            if line.startswith("serving at "):
                self.port = int(line.split()[2].rsplit(":", 1)[1])
                return
        sys.exit("the server has not come up")

    def memory(self):
        """MiB of all processes, each page once."""
        total = 0
        for process in [self.process, *self.process.children(recursive=True)]:
            try:
                total += process.memory_full_info().pss
            except psutil.NoSuchProcess:
                continue
        return total / 2**20

    def end(self):
        begin = time.perf_counter()
        self.process.terminate()
        code = self.process.wait(120)
        print(f"ended with code {code} after {time.perf_counter() - begin:.1f} s")


def client(port, files, until, times, errors):
    """Ask over one connection until that moment."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    number = 0
    while time.perf_counter() < until:
        begin = time.perf_counter()
        try:
            connection.request("POST", "/predict", files[number % len(files)], {"Content-Type": "image/jpeg"})
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != 200:
                errors.append((answer.status, body[:200]))
        except OSError as error:
            errors.append(repr(error))
            connection.close()
        times.append((begin, time.perf_counter()))
        number += 1


def load(server, args, files, seconds):
    """[(begin, end)] of all requests, errors, seconds that it took."""
    data, times, errors = [path.read_bytes() for path in files], [], []
    begin = time.perf_counter()
    clients = [threading.Thread(target=client, args=(server.port, data[number:] + data[:number], begin + seconds, times,
                                                     errors)) for number in range(args.clients)]
    for one in clients:
        one.start()
    for one in clients:
        one.join()
    return times, errors, time.perf_counter() - begin


def measure(args, model, folder):
    files = pictures(folder)
    result = {**about("ray", "fastapi", "paddlepaddle", "onnxruntime", "openvino"), "clients": args.clients,
              "seconds": args.seconds, "batch_size": args.batch_size, "threads": args.threads, "engine": args.engine,
              "replicas": args.replicas}
    before = alone(args, model, files)
    server = Server(args, model)
    load(server, args, files, args.seconds / 5)  # warms up
    memory = [server.memory()]
    times, errors, took = load(server, args, files, args.seconds)
    memory.append(server.memory())
    server.end()
    after = alone(args, model, files)
    latencies = sorted((end - begin) * 1000 for begin, end in times)
    result.update({
        "predictor_per_second": [before, after], "server_per_second": len(times) / took,
        "ratio": len(times) / took / statistics.fmean((before, after)), "requests": len(times), "errors": len(errors),
        "first_errors": [str(error) for error in errors[:3]], "p50_ms": latencies[len(latencies) // 2],
        "p99_ms": latencies[int(len(latencies) * 0.99)], "memory_mib": memory, "memory_ratio": memory[1] / memory[0]})
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--model_dir", help="an exported model (default: R18 at 320x320 with random weights is exported)")
    add("--engine", help="paddle, onnxruntime or openvino (default: the first that reads the model)")
    add("--clients", type=int, default=16)
    add("--seconds", type=float, default=60)
    add("--batch_size", type=int, default=4)
    add("--threads", type=int, default=2)
    add("--replicas", default="1")
    add("--output", help="a JSON file for the figures")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = Path(args.model_dir).resolve() if args.model_dir else export("r18", 320, folder)
        result = measure(args, model, Path(folder))
    print(f"predictor alone   {result['predictor_per_second'][0]:.1f} and {result['predictor_per_second'][1]:.1f} "
          "pictures/s")
    print(f"server            {result['server_per_second']:.1f} pictures/s, ratio {result['ratio']:.2f}")
    print(f"requests          {result['requests']}, errors {result['errors']} {result['first_errors'] or ''}")
    print(f"latency           p50 {result['p50_ms']:.0f} ms, p99 {result['p99_ms']:.0f} ms")
    print(f"memory            {result['memory_mib'][0]:.0f} -> {result['memory_mib'][1]:.0f} MiB, ratio "
          f"{result['memory_ratio']:.3f}")
    if args.output:
        Path(args.output).write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
