"""Balance long-tailed data for fine-tuning language models, within a budget."""

__version__ = "0.1.0"
