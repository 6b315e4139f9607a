"""What the scaler's `ec2_fleet` needs in an AWS account: the launch template and the permissions."""
