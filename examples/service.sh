#!/usr/bin/env bash
# A day with the service in curl: METASTORE_SERVICE is its address, METASTORE_TOKEN a token.
set -euo pipefail
api=$METASTORE_SERVICE/api/v1
send=(curl --silent --show-error --fail-with-body --header "Authorization: Bearer $METASTORE_TOKEN")

# Create a dataset; the ETag of the answer is its revision.
"${send[@]}" --request PUT "$api/datasets/physics/cars-sh?message=First" --json '{
  "name": "cars-sh", "resources": [{"name": "cars", "path": "cars.csv"}]
}' --output /dev/null --dump-header headers
revision=$(sed -n 's/^ETag: "\(.*\)"\r$/\1/p' headers)

# Change a part of it, if nobody else has changed it meanwhile.
"${send[@]}" --request PATCH "$api/datasets/physics/cars-sh" \
  --header 'Content-Type: application/merge-patch+json' --header "If-Match: \"$revision\"" \
  --data '{"title": "Cars"}' --output /dev/null

# A client that still has the old revision gets an error.
curl --silent --request PATCH "$api/datasets/physics/cars-sh" --header "Authorization: Bearer $METASTORE_TOKEN" \
  --header 'Content-Type: application/merge-patch+json' --header "If-Match: \"$revision\"" \
  --data '{"title": "Automobiles"}' --output /dev/null --write-out 'a stale change: %{http_code}\n'

# Reading needs no token, neither now nor as it was.
curl --silent --fail "$api/datasets/physics/cars-sh"
curl --silent --fail "$api/datasets/physics/cars-sh/revisions" | grep --only-matching '"message": "[^"]*"'

# Put it back.
"${send[@]}" --request POST "$api/datasets/physics/cars-sh/revert" --json "{\"to\": \"$revision\"}" --output /dev/null
curl --silent --fail "$api/datasets/physics/cars-sh" | grep title || echo 'the title is gone again'
