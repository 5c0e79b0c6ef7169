"""Objects in a bucket that speaks S3: AWS, MinIO, Ceph, R2 and others that know conditional writes."""

from character_ray.s3.address import S3Address, is_s3
from character_ray.s3.bucket import Bucket, Stored

__all__ = ["Bucket", "S3Address", "Stored", "is_s3"]
