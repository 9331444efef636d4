"""Bad input, with the expected result of each case.

expected    what a case is, and the results that it can have
texts       texts, and values in the place of texts
jobs        wrong arguments of a job
unreadable  queue entries that are not messages, and messages that are not jobs
headers     headers, properties and options around a job
protocol1   messages in Celery's protocol 1
cases       all cases, as messages
generated   generated texts, jobs and messages
messages    valid messages, from which cases are made
runner      sends messages to a worker and reads the results
canary      the search for texts in output
"""
