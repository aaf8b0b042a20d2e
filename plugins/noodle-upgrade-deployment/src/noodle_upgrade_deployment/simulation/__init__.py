"""What would happen, in virtual time: made-up traffic, and judges that watch it."""
