"""`python -m sentq_worker` is `sentq-worker`."""

from sentq_worker.cli import main

if __name__ == "__main__":
    main()
