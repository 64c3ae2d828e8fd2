# What a deployment should be like, and is or is not. Sourced.

found_wrong=no

good() { printf '  ok     %s\n' "$1"; }
# open_end WHAT ADVICE: not wrong, but somebody has still to do it.
open_end() { printf '  to do  %s\n         %s\n' "$1" "$2"; }
# bad WHAT ADVICE
bad() {
  printf '  WRONG  %s\n         %s\n' "$1" "$2"
  found_wrong=yes
}

examine_services() {
  local name
  again="claude-run deploy --project $project --region $region"
  for name in $services; do
    if ! is_ours services "$name"; then
      bad "there is no service $name" "$again"
    elif ! is_ready "$name"; then
      bad "the newest revision of $name is not ready; the last good one serves" \
        "gcloud run services logs read $name --project=$project --region=$region"
    elif ! is_settled "$name"; then
      bad "the newest revision of $name has no traffic yet" "$again"
    else
      good "$name runs its newest revision"
    fi
  done
  if is_ours jobs "$worker"; then good "$worker is there"; else bad "there is no job $worker" "$again"; fi
  if ! is_ours schedules "$schedule"; then
    bad "there is no schedule $schedule: lost work is not found" "$again"
  elif grep -q "^$schedule|.*|PAUSED" "$work/schedules"; then
    bad "$schedule is paused: lost work is not found" \
      "gcloud scheduler jobs resume $schedule --project=$project --location=$region"
  else good "$schedule is there"; fi
  if is_there databases "$database"; then good "the database is there"; else
    bad 'there is no database' "$again"
  fi
}

# All that our accounts should have, and all that they do have: PLACE ROLE MEMBER.
examine_roles() {
  local account role on why file place member title
  while read -r account role on why; do
    if [ "$account" = allUsers ]; then continue; fi
    echo "$on $role serviceAccount:$(account "$account")"
  done < <(rows grants.txt) | sort >"$work/wanted"
  for file in "$work"/grants.*; do
    case $file in *.err) continue ;; esac
    place=${file##*/grants.}
    case $place in
      secret.* | service.* | job.*) place="${place%%.*}/${place#*.}" ;;
    esac
    while read -r role member title; do
      if [ "$title" = "$database" ]; then
        echo "database $role $member"
      else
        echo "$place $role $member"
      fi
    done <"$file"
  done | grep " serviceAccount:$(account '.*')" | sort >"$work/granted" || true
  while read -r place role member; do
    bad "${member#serviceAccount:} has $role on $place, and needs it not" \
      "$(removal "$member" "$role" "$place")"
  done < <(comm -13 "$work/wanted" "$work/granted")
  while read -r place role member; do
    bad "${member#serviceAccount:} lacks $role on $place" "$again"
  done < <(comm -23 "$work/wanted" "$work/granted")
  if cmp -s "$work/wanted" "$work/granted"; then good 'each account has its roles and no other'; fi
}

# removal MEMBER ROLE PLACE: the command that takes a role away.
removal() { binding remove "$1" "$2" "$3" '' | tail -n 1; }

examine_public() {
  local name who
  for name in $services; do
    for who in allUsers allAuthenticatedUsers; do
      has "grants.service.$name" "roles/run.invoker $who " || continue
      case $who/$name in
        allUsers/claude-run-webhook | allUsers/claude-run-setup) ;;
        *) bad "everybody may call $name" "$(removal "$who" roles/run.invoker "service/$name")" ;;
      esac
    done
  done
  for name in claude-run-webhook claude-run-setup; do
    has "grants.service.$name" 'roles/run.invoker allUsers ' \
      || bad "nobody reaches $name: IAM refuses everybody" "$again"
  done
}

look_at_secrets() {
  local name
  for name in $(names_in secrets.txt); do
    : >"$work/versions.$name"
    ! is_there secrets "$name" || look "versions.$name" gcloud secrets versions list "$name" \
      --project="$project" --filter=state=ENABLED --limit=1 --format='value(name)'
  done
  seen
}

examine_secrets() {
  local name source why page
  page="$(url claude-run-setup)/gh-setup"
  while read -r name source why; do
    if ! is_there secrets "$name"; then
      bad "there is no secret $name" "$again"
    elif [ -s "$work/versions.$name" ]; then
      good "the secret $name has a value"
    elif [ "$source" = deploy ]; then
      bad "the secret $name has no value" "$again"
    elif [ "$name" != state-key ]; then
      open_end "the secret $name has no value: $why" "Set it up: $page"
    fi
  done < <(rows secrets.txt)
}

# ask URL OPTION…: its status, without a token, and in $work/head what stands over the answer.
ask() {
  : >"$work/head"
  curl --silent --output /dev/null --dump-header "$work/head" --write-out '%{http_code}' \
    --max-time 30 "$@" || true
}

# Each answer of our own code has this; one of Google's has not.
is_our_answer() { grep -qi '^x-request-id:' "$work/head"; }

# examine_addresses: who is let in, seen from here without a token.
examine_addresses() {
  local name address status
  while IFS='|' read -r name _ _ _ _ _ address; do
    status=$(ask "$address/health")
    case $name:$status in
      claude-run-webhook:200 | claude-run-setup:200) good "$name answers" ;;
      claude-run-webhook:* | claude-run-setup:*)
        bad "$name answers $status on /health" \
          "gcloud run services logs read $name --project=$project --region=$region" ;;
      *)
        # Ours may refuse, too; but it believes each token that comes so far.
        if is_our_answer; then
          bad "IAM does not stand in front of $name: a forged token opens it" \
            "gcloud run services update $name --invoker-iam-check --project=$project --region=$region"
        elif [ "$status" = 401 ] || [ "$status" = 403 ]; then
          good "$name refuses whoever has no token"
        else bad "$name answers $status to somebody without a token" "$again"; fi
        ;;
    esac
  done < <(grep '^claude-run-' "$work/services")
  examine_signature
}

examine_signature() {
  local address status
  address=$(grep '^claude-run-webhook|' "$work/services" | cut -d '|' -f 7)
  [ -n "$address" ] || return 0
  status=$(ask "$address/webhooks/github" --header 'Content-Type: application/json' --data '{}')
  case $status in
    401 | 403) good 'a delivery that nobody has signed is refused' ;;
    *) bad "a delivery that nobody has signed is answered $status" "$again" ;;
  esac
}
