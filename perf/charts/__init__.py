"""A run as pictures: what each shows is made first, pure, and then drawn by matplotlib."""
