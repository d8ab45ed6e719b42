"""The corpus in Milvus: a file on one machine, or a cluster past it."""

from stepwell.corpus.milvus.corpus import MilvusCorpus
from stepwell.corpus.milvus.link import names_milvus

__all__ = ["MilvusCorpus", "names_milvus"]
