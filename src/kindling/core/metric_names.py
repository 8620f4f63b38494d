"""What the name of a metric says: whether lower or higher is better."""

# How metrics' names end.
LOWER_IS_BETTER = ("loss", "mae", "mse", "rmse", "error", "nll", "perplexity", "distance", "divergence")
HIGHER_IS_BETTER = (
    *("accuracy", "acc", "auroc", "auc", "f1", "precision", "recall", "iou", "dice"),
    *("r2", "map", "psnr", "ssim", "reward", "return", "score"),
)
