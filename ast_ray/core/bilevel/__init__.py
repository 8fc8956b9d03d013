"""The inner training of the student, the matching loss, and its gradient with respect to images and alpha."""
