#!/usr/bin/env bash
# Append a Run to the history on the data branch: append.sh RUN.json
#
# Every attempt starts from the branch as it is, so what others pushed meanwhile stays; Runs are files of their own and
# never conflict. The token is read from GH_TOKEN when git asks for it, and is written nowhere.
set -euo pipefail

run=$(realpath "$1")
branch=${DATA_BRANCH:-data}
attempts=${ATTEMPTS:-5} pause=${PAUSE:-10} # seconds, doubled after each attempt
remote=$(git remote get-url origin)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

git() {
    # The token stays a variable's name here: the helper reads the variable itself.
    # shellcheck disable=SC2016
    command git -c credential.helper= -c credential.helper='!f() { echo username=x-access-token; echo "password=$GH_TOKEN"; }; f' \
        -c user.name=braidcheck -c user.email=braidcheck@users.noreply.github.com "$@"
}

fetch() { # the branch, or an empty one where the remote has none; anything else is a failure
    local code=0
    rm -rf "$folder/data"
    git ls-remote --exit-code --heads "$remote" "refs/heads/$branch" >/dev/null || code=$?
    case $code in
    0) git clone --quiet --depth 1 --single-branch --branch "$branch" "$remote" "$folder/data" ;;
    2) git init --quiet --initial-branch "$branch" "$folder/data" && git -C "$folder/data" remote add origin "$remote" ;;
    *) return 1 ;;
    esac
}

append() { # each command's failure is the attempt's, which set -e does not see in a condition
    fetch &&
        python3 -m braidcheck history add "$run" --to "$folder/data/history" &&
        git -C "$folder/data" add history &&
        git -C "$folder/data" commit --quiet --message "A Run" &&
        git -C "$folder/data" push --quiet origin "HEAD:refs/heads/$branch"
}

for ((attempt = 1; attempt <= attempts; attempt++)); do
    if append; then
        echo "appended to $branch at attempt $attempt"
        exit 0
    fi
    echo "attempt $attempt of $attempts failed" >&2
    ((attempt == attempts)) || sleep $((pause * 2 ** (attempt - 1)))
done
echo "the Run is not on $branch" >&2
exit 1
