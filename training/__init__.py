"""What the loop of train.py works on."""
