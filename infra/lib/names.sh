# What everything is called. Sourced.

label=managed-by=claude-run
made_by='Made by claude-run deploy'
database=claude-run
repository=claude-run
runner=claude-run-runner
worker=claude-run-worker
schedule=claude-run-sweep
functions='api setup webhook'
services="$runner claude-run-api claude-run-setup claude-run-webhook"

# The Python of the functions is the one that the tests run with.
python=python$(tr -d . <"$root/.python-version")

# A project of a domain, example.com:p, has its accounts at p.example.com.
account() {
  local at=$project
  case $at in *:*) at=${project#*:}.${project%%:*} ;; esac
  echo "claude-run-$1@$at.iam.gserviceaccount.com"
}

# url SERVICE: the address that a service has from its first moment on.
url() { echo "https://$1-$number.$region.run.app"; }

# bucket: where gcloud itself puts the source of a function, by its own rule.
bucket() {
  echo "run-sources-$(printf %s "$project" | sed -e 's/[:.]/_/g' -e 's/google/elgoog/g')-$region"
}

registry() { echo "$region-docker.pkg.dev/${project/://}/$repository"; }

# image_of SERVICE: what its newest revision runs, by its digest.
image_of() {
  gcloud run services describe "$1" --project="$project" --region="$region" \
    --format='value(spec.template.spec.containers[0].image)'
}

# What hashes files, or what comes in: the same on every machine, for what one has deployed another
# finds again.
hashes=sha256sum
command -v sha256sum >/dev/null || hashes='shasum -a 256'

# digest: of what comes in, short enough for a label.
digest() { $hashes | cut -c 1-40; }

# tree_digest PATH…: of all files below, and their names.
tree_digest() {
  (cd "$root" && find "$@" -type f ! -name '*.pyc' ! -name .DS_Store | LC_ALL=C sort \
    | tr '\n' '\0' | xargs -0 $hashes | digest)
}
