"""What each verb of the command line does: call its stage, and print where its artifact is."""
