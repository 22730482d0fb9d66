"""The paper's study: outer folds, trials, tables, figures."""
