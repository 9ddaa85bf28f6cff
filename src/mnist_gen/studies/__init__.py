"""Studies of trained models: what they are compared by, their files and their pictures. Nothing is trained here."""
