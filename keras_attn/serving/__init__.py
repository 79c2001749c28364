"""SavedModels for TF Serving: export, reference answers, verification."""
