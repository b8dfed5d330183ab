"""A day with the service in Python: METASTORE_SERVICE is its address, METASTORE_TOKEN a token."""

import os

import metastore

with metastore.connect(os.environ["METASTORE_SERVICE"], token=os.environ["METASTORE_TOKEN"]) as store:
    cars = "physics/cars-py"
    made = store.dataset_create(cars, {"name": "cars-py", "resources": [{"name": "cars", "path": "cars.csv"}]})

    # Change a part of it, if nobody else has changed it meanwhile.
    store.dataset_patch(cars, {"title": "Cars"}, expected=made.revision.id)
    try:
        store.dataset_patch(cars, {"title": "Automobiles"}, expected=made.revision.id)
    except metastore.RevisionConflict as error:
        print("a stale change:", error.kind)

    print(store.dataset_read(cars).descriptor["title"])
    for revision in store.revision_list(cars):
        print(revision.author.name, revision.message)

    store.dataset_revert(cars, made.revision.id)
    print("title" in store.dataset_read(cars).descriptor)
