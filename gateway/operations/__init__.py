"""What an operator sees and does about queues, workers and fleets. No tenant's key comes this far."""
