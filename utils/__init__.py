"""One module per step of the data's way: comments, labels and splits, models, predictions, comparison."""
