"""From a trained run or a SavedModel to answers: recognition, prediction, explanation."""
