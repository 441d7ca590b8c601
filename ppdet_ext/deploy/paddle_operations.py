# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The operations that an exported Paddle program may hold: those that compute with tensors and do nothing else.

A list of what is allowed, not of what is forbidden: of the 1,200 operations of Paddle 3.3.1 some read or write
files (save, load, load_combine, read_file, print), run Python (py_func, pylayer), talk to other machines (send_v2,
all_gather, distributed_lookup_table) or start another engine on bytes of the file (tensorrt_engine, openvino_engine,
fusion_group), and the next Paddle may have more. What is missing here is refused, so a new name can do no harm.

The names are those of Paddle 2.6 (.pdmodel) and Paddle 3 (.json), without the ``_`` of operations in place.
"""

_FORMAT = """
feed fetch fetch_v2 data p parameter set_parameter shadow_output constant combine split slice yield if while assert
conditional_block conditional_block_infer select_input select_output tuple_push tuple_pop stack_create has_elements
increment nop share_data memcpy memcpy_d2h memcpy_h2d depend
"""
_MAKING = """
assign assign_out assign_value empty empty_like eye fill fill_any fill_any_like fill_constant
fill_constant_batch_size_like fill_diagonal fill_diagonal_tensor full full_batch_size_like full_int_array full_like
full_with_tensor gaussian gaussian_inplace gaussian_random linspace logspace arange range range_v2 ones ones_like
randint randperm bernoulli uniform uniform_inplace uniform_random uniform_random_batch_size_like
truncated_gaussian_random tril tril_indices tril_triu triu triu_indices zeros zeros_like meshgrid one_hot one_hot_v2
"""
_ARITHMETIC = """
abs acos acosh add add_n addmm amax amin angle any all allclose argmax argmin arg_max arg_min argsort asin asinh atan
atan2 atanh baddbmm bincount bitwise_and bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift bitwise_xor bmm
cast ceil celu cholesky cholesky_solve clip clip_by_norm complex conj copysign cos cosh cross cummax cummin cumprod
cumsum det determinant diag diag_embed diag_v2 diagonal digamma dist divide dot einsum elementwise_add elementwise_div
elementwise_floordiv elementwise_fmax elementwise_fmin elementwise_heaviside elementwise_max elementwise_min
elementwise_mod elementwise_mul elementwise_pow elementwise_sub equal equal_all erf erfinv exp expm1 floor floor_divide
fmax fmin frobenius_norm greater_equal greater_than heaviside histogram i0 i0e i1 i1e imag inverse is_empty isclose
isfinite isfinite_v2 isinf isinf_v2 isnan isnan_v2 kron kthvalue l1_norm lerp less_equal less_than lgamma log log10
log1p log2 logcumsumexp logical_and logical_not logical_or logical_xor logit logsumexp matmul matmul_v2 matrix_power max
max_with_index maximum mean mean_all median min min_with_index minimum mode mul multi_dot multiply mv nanmedian nansum
nextafter norm not_equal p_norm pow prod real reciprocal reduce_all reduce_amax reduce_amin reduce_any reduce_as
reduce_max reduce_mean reduce_min reduce_prod reduce_sum remainder renorm rint round rsqrt scale sign sin sinh solve
sqrt square squared_l2_norm std subtract sum svd tan trace trunc trunc_divide var variance fft_c2c fft_c2r fft_r2c
"""
_ACTIVATIONS = """
brelu elu gelu hard_shrink hard_sigmoid hard_swish hardshrink hardsigmoid hardswish hardtanh leaky_relu log_softmax
logsigmoid maxout mish prelu relu relu6 rrelu selu sigmoid silu softmax softplus softshrink softsign stanh swiglu swish
tanh tanh_shrink thresholded_relu
"""
_LAYERS = """
add_position_encoding affine_channel affine_grid batch_norm bicubic_interp bicubic_interp_v2 bilinear
bilinear_interp bilinear_interp_v2 bilinear_tensor_product channel_shuffle conv2d conv2d_transpose
conv2d_transpose_bias conv3d conv3d_transpose correlation crop crop_tensor deformable_conv deformable_conv_v1
depthwise_conv2d depthwise_conv2d_bias depthwise_conv2d_transpose dropout embedding fc flash_attn
fold fractional_max_pool2d frame fused_softmax_mask fused_softmax_mask_upper_triangle grid_sample grid_sampler
group_norm gru gru_unit im2sequence instance_norm interp_antialias label_smooth layer_norm linear linear_interp
linear_interp_v2 linear_v2 lookup_table lookup_table_v2 lp_pool2d lrn lstm matmul_with_flatten max_pool2d_v2
max_pool2d_with_index memory_efficient_attention nearest_interp nearest_interp_v2 overlap_add pad pad2d pad3d
pixel_shuffle pixel_unshuffle pool2d pool3d rms_norm rnn row_conv shuffle_channel space_to_depth spectral_norm
squeeze_excitation_block sync_batch_norm temporal_shift trilinear_interp trilinear_interp_v2 unfold unpool
"""
_SHAPES = """
array_length array_pop array_read array_to_tensor array_write as_complex as_real as_strided broadcast_tensors concat
create_array create_array_like expand expand_as expand_as_v2 expand_v2 flatten flatten2 flatten_contiguous_range flip
gather gather_nd index_add index_elementwise_get index_elementwise_put index_elementwise_put_with_tensor index_put
index_sample index_select index_select_strided lod_array_length lod_reset masked_fill masked_select multiplex nonzero
numel put_along_axis read_from_array repeat_interleave repeat_interleave_with_tensor_index reshape reshape2 reverse roll
scatter scatter_nd_add searchsorted sequence_mask set_value set_value_with_tensor shape shape64 shard_index size
slice_array slice_array_dense split_with_num squeeze squeeze2 stack strided_slice take_along_axis tensor_array_to_tensor
tensor_unfold tile top_k top_k_v2 topk transpose transpose2 unbind unique unique_consecutive unsqueeze unsqueeze2
unstack view_dtype view_shape view_slice where where_index write_to_array
"""
_BOXES = """
anchor_generator bipartite_match box_clip box_coder collect_fpn_proposals density_prior_box distribute_fpn_proposals
generate_proposals generate_proposals_v2 iou_similarity locality_aware_nms matrix_nms multiclass_nms multiclass_nms2
multiclass_nms3 nms polygon_box_transform prior_box psroi_pool retinanet_detection_output roi_align roi_pool yolo_box
yolo_box_head yolo_box_post
"""
_QUANTIZED = """
dequantize dequantize_abs_max dequantize_linear dequantize_log fake_channel_wise_dequantize_max_abs
fake_channel_wise_quantize_abs_max fake_channel_wise_quantize_dequantize_abs_max fake_dequantize_max_abs
fake_quantize_abs_max fake_quantize_dequantize_abs_max fake_quantize_dequantize_moving_average_abs_max
fake_quantize_moving_average_abs_max fake_quantize_range_abs_max moving_average_abs_max_scale quant_linear quantize
quantize_linear requantize
"""
ALLOWED = frozenset(
    " ".join((_FORMAT, _MAKING, _ARITHMETIC, _ACTIVATIONS, _LAYERS, _SHAPES, _BOXES, _QUANTIZED)).split())
