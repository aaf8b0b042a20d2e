"""Deploy by evidence: judges that say when a new version may have more traffic, and when it must go back."""
