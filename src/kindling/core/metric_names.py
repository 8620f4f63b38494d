"""What the name of a metric tells: whether less of it is better, or more."""

# The ends of metrics' names.
LOWER_IS_BETTER = ("loss", "mae", "mse", "rmse", "error", "nll", "perplexity", "distance", "divergence")
HIGHER_IS_BETTER = (
    *("accuracy", "acc", "auroc", "auc", "f1", "precision", "recall", "iou", "dice"),
    *("r2", "map", "psnr", "ssim", "reward", "return", "score"),
)
