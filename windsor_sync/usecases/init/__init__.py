"""What `init` finds out by itself in a folder and in the environment: nobody is asked what can be seen."""
