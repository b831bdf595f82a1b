"""openbook: every trading decision is an executed notebook that anyone can open, check and replay."""
