"""What we predict: features, dataset, models."""
