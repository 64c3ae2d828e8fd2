# Where sources and images are, and the runner's image. Sourced.

make_places_for_builds() {
  is_there repositories "$repository" || change 'the repository of images' \
    gcloud artifacts repositories create "$repository" --project="$project" \
    --location="$region" --repository-format=docker --labels="$label"
  grep -q "^$repository claude-run DOCKER [1-9]" "$work/repositories" || change \
    'of each image the newest ones are kept' \
    gcloud artifacts repositories set-cleanup-policies "$repository" --project="$project" \
    --location="$region" --policy="$infra/cleanup.json" --format=none
  # Where the rule is, the bucket is ours: a bucket is made without a label.
  is_there buckets "$(bucket)" || change 'the bucket of sources' \
    gcloud storage buckets create "gs://$(bucket)" --project="$project" --location="$region" \
    --uniform-bucket-level-access --public-access-prevention --lifecycle-file="$infra/sources.json"
}

# runner_image: by the commit that it is made of, and what was changed since.
runner_image() {
  local tag
  tag=$(git -C "$root" rev-parse --short=12 HEAD 2>/dev/null || echo source)
  echo "$(registry)/$runner:$tag-$(runner_digest | cut -c 1-8)"
}

runner_digest() {
  tree_digest .python-version .dockerignore container functions/claude_run cloudbuild.yaml
}

build_runner_image() {
  change "the runner's image" \
    gcloud builds submit "$root" --project="$project" --region="$region" \
    --config="$root/cloudbuild.yaml" --substitutions="_IMAGE=$1" \
    --service-account="projects/$project/serviceAccounts/$(account build)" \
    --gcs-source-staging-dir="gs://$(bucket)/claude-run-runner" --suppress-logs --format=none
}
