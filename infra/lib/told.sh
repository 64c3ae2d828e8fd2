# What whoever has deployed needs to know. Sourced.

tell() {
  cat <<TEXT

claude-run is on $project ($region).

  API         $(url claude-run-api)
  webhook     $(url claude-run-webhook)/webhooks/github
  runner      $(url "$runner")

Set it up:    $(url claude-run-setup)/gh-setup
Look at it:   claude-run doctor --project $project --region $region

Idle, it costs what is kept: the images (about 2 GB, 0.10 USD a GB and month) and what is in
Firestore. Sweeps, secrets and schedule stay within Google's free tier$(idle_instances).
TEXT
  tell_code
}

idle_instances() {
  [ "$min_instances" -eq 0 ] || printf '; %s idle runner(s) of %s CPU and %s do not' \
    "$min_instances" "$cpu" "$memory"
}

# Apart from the address of the page. With --yes nobody may be there to read it, and a log keeps it.
tell_code() {
  local read="gcloud secrets versions access latest --secret=setup-code --project=$project"
  echo
  if [ "$yes" = yes ]; then
    echo "The set-up code: $read"
  else
    echo "The set-up code: $($read)"
  fi
}
