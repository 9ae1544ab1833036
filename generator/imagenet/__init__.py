"""ImageNet: its classes, and images as its networks take them."""

from pathlib import Path

ASSETS = Path(__file__).parent / "assets"
CLASS_NAMES = ASSETS / "imagenet_classes.txt"
CLASSES = 1000
SIDE_PX = 224
