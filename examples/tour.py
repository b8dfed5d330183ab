"""A tour of MetaStore on real data packages; `make run` starts it."""

import metastore

if __name__ == "__main__":
    print(metastore.__doc__)
