# A small pose tokenizer: the published network with narrower layers and
# fewer codes, on coordinates scaled to [-1, 1] (short trainings need that).
tokenizer = dict(
    type='PCTTokenizer',
    num_joints=17,
    num_tokens=34,
    num_codes=256,
    token_dim=64,
    encoder=dict(channels=128, channel_hidden=128),
    decoder=dict(channels=64, channel_hidden=128),
    quantizer=dict(kmeans_iters=10, revive_threshold=0.05),
    coord_scale=48.0,
    coord_offset=47.5)
