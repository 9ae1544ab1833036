"""ImageNet: its class names, and images as its networks take them."""
