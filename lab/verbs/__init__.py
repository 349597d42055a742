"""The verbs of `lab`, a file for what belongs together. Everything heavy is imported by the verb that needs it."""
