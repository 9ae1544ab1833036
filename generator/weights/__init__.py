"""Parameters for a network: seeded random ones, or those that people have; nothing in a weights file is executed."""
