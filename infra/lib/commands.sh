# How commands are shown, run, and tried again. Sourced.
#
# The steps are gone through twice: with mode=show each change is printed, with mode=do it is made.

# A role or an API that was given a moment ago is not known everywhere at once.
TRIES=${CLAUDE_RUN_TRIES:-18}
PAUSE=${CLAUDE_RUN_PAUSE:-10}

changes=0

# change WHAT COMMAND…
change() {
  local what=$1
  shift
  changes=$((changes + 1))
  if [ "$mode" = show ]; then
    printf '# %s\n%s\n' "$what" "$(quoted "$@")"
  else
    say "- $what"
    run "$@"
  fi
}

# piped WHAT FUNCTION COMMAND…: the same, with what FUNCTION prints as standard input. A secret is
# never an argument, and never in a file.
piped() {
  local what=$1 source=$2
  shift 2
  changes=$((changes + 1))
  if [ "$mode" = show ]; then
    printf '# %s\n%s | %s\n' "$what" "$(body_of "$source")" "$(quoted "$@")"
  else
    say "- $what"
    feed=$source run "$@"
  fi
}

# body_of FUNCTION: what it does, on one line.
body_of() { declare -f "$1" | sed -e '1,2d' -e '$d' -e 's/^ *//' | tr '\n' ' ' | sed 's/[; ]*$//'; }

# run COMMAND…: to its end, again while Google does not know yet what it was told just now.
run() {
  local try=1
  until ${feed:-:} | "$@" >"$work/out" 2>"$work/err" || is_made "$work/err" "$@"; do
    if [ "$try" -ge "$TRIES" ] || ! not_yet "$work/err"; then
      stop "$(explained "$work/err") The same command goes on from there."
    fi
    [ "$try" -gt 1 ] || say '  Google does not know yet what it was told just now: it is asked again.'
    try=$((try + 1))
    sleep "$PAUSE"
  done
}

# The second and third line are of an account that was made just now, the last but one of Firestore,
# which makes few indexes at once.
not_yet() {
  grep -q -e 'SERVICE_DISABLED' -e 'has not been used in project' \
    -e 'ervice account .* does not exist' -e 'iam.service[aA]ccounts.actAs' \
    -e 'does not have storage.objects.get access' -e 'Service Agent .* permission' \
    -e 'might take a few minutes to propagate' -e 'concurrent policy changes' \
    -e 'underlying data changed' -e 'contention' -e 'Requests Per Minute' "$1"
}

# is_made FILE COMMAND…: whether it made what is there: a run that was interrupted has made it a
# moment ago, and lists do not show it yet.
is_made() {
  case " ${*:2} " in
    *' create '*) grep -q -e ALREADY_EXISTS -e 'already exists' -e 'you already own it' "$1" ;;
    *) false ;;
  esac
}

# A gcloud is a hundred megabytes.
LOOKS_AT_ONCE=8

# look NAME COMMAND…: what is there, into $work/NAME, beside the other looks; `seen` waits.
looks=''
look() {
  local name=$1
  shift
  : >"$work/$name"
  [ "$offline" = no ] || return 0
  "$@" >"$work/$name" 2>"$work/$name.err" &
  looks="$looks $name:$!"
  if [ "$(echo "$looks" | wc -w)" -ge "$LOOKS_AT_ONCE" ]; then seen; fi
}

seen() {
  local one failed=''
  for one in $looks; do
    wait "${one#*:}" || failed=${failed:-${one%%:*}}
  done
  looks=''
  [ -z "$failed" ] || stop "$(explained "$work/$failed.err")"
}

# has NAME LINE: whether a look has found this line.
has() { grep -qxF -- "$2" "$work/$1"; }

# rows FILE: a table of this folder, without its comments; names_in FILE: its first column.
rows() { sed -e '/^#/d' -e '/^$/d' "$infra/$1"; }
names_in() { rows "$1" | cut -d ' ' -f 1; }
