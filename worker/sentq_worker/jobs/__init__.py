"""Jobs in flight, from the delivery of a message until it is acknowledged.

The dispatcher keeps pending jobs, hands a batch to the executor, and passes each result to
completion, which stores it and acknowledges the message. May import `broker` and `engine`.
"""
