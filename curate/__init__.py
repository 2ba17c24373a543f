"""Balance long-tailed data for fine-tuning language models, within a budget."""

__version__ = "0.2.0"
