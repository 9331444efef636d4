"""The chart and the manifests of configs/: where they are, how they are rendered, and what checks
them. Imports the settings of all programs, and nothing else of the product."""
