# Small networks of MPM and short trainings of them, minutes on one core.
small_layers = dict(
    channels=128,
    feedforward_channels=256,
    dropout=0.,
)
small_backbone = dict(
    **small_layers, hidden_channels=256, num_layers=3, frame_dropout=0.)

small_loader = dict(
    batch_size=64, num_workers=0, persistent_workers=False, pin_memory=False)
small_optimizer = dict(lr=2e-3)
# A warm-up and one cosine down to zero.
small_schedule = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=60),
    dict(
        type='CosineAnnealingLR',
        eta_min=0,
        by_epoch=True,
        convert_to_iter_based=True),
]
