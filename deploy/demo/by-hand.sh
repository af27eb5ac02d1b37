#!/usr/bin/env bash
# The demonstration by hand: seven panes of tmux, six with a node each and one with a shell to type in. README.md beside this
# file says what to type and what is then to be seen; `step 1` to `step 7` in the shell show its sections.
#
#   deploy/demo/by-hand.sh [FIRST_PORT]      every node has ten ports; the first is 7400 unless another is given
#
# Leaving the shell (Ctrl-D or `exit`) or detaching ends everything and removes the data.
set -euo pipefail

fail() {
    printf '%s\n' "$@" >&2
    exit 1
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
base=${1:-7400}
if ! [[ $base =~ ^[0-9]{4,5}$ ]] || ((base < 1024 || base > 65000)); then
    fail "usage: $0 [FIRST_PORT], from 1024 to 65000"
fi
command -v tmux >/dev/null || fail \
    "tmux is not installed. On Debian and Ubuntu: sudo apt install tmux; on macOS: brew install tmux." \
    "Without it, open seven terminals and type the commands of $here/README.md." \
    "\`quorate demo\` shows the same by itself, in one terminal."
quorate=${QUORATE:-$here/../../target/release/quorate}
[[ -x $quorate ]] || fail "there is no program $quorate: run \`cargo build --release\`, or set QUORATE to its path"
quorate=$(realpath "$quorate")

data=$(mktemp -d "${TMPDIR:-/tmp}/quorate-by-hand-XXXXXX")
# A tmux server of its own: nobody's settings change what is shown, and its end is the end of all seven panes.
tmux() { env -u TMUX tmux -S "$data/tmux" -f /dev/null "$@"; }
end() {
    tmux kill-server 2>/dev/null || true
    rm -rf "$data"
}
trap end EXIT

names=(a b c d e f)
declare -A addresses panes
for i in "${!names[@]}"; do addresses[${names[i]}]=127.0.0.1:$((base + 10 * i)); done

# What the shells in the panes know: `node` runs the node of the pane, also again; `step`, `pid` and `told` are for the shell.
# tee does not hear Ctrl-C, so that what a node tells while it stops is shown as well.
write_shells() {
    local name join all=()
    for name in "${names[@]}"; do all+=("${addresses[$name]}"); done
    {
        printf 'export PATH=%q:"%s"\n' "$(dirname "$quorate")" "$PATH"
        for name in "${names[@]}"; do printf '%s=%s\n' "$name" "${addresses[$name]}"; done
        printf 'export QUORATE_ENDPOINTS=%s\n' "$(IFS=,; echo "${all[*]}")"
    } >"$data/all.rc"
    for name in "${names[@]}"; do
        # The first one starts the cluster. It joins nobody, also when it comes back as the member that it is.
        join=()
        [[ $name == a ]] || join=(--join "${addresses[a]}")
        cat >"$data/$name.rc" <<RC
. "$data/all.rc"
PS1='node $name> '
node() {
    QUORATE__LOG__COLOR=always quorate server --name $name --listen ${addresses[$name]} --data "$data/$name" \\
        ${join[*]} --show-heartbeats 2>&1 | tee -ai "$data/$name.log"
    echo 'node $name has ended; \`node\` starts it again'
}
RC
    done
    cat >"$data/shell.rc" <<RC
. "$data/all.rc"
PS1='> '
pid() { for name in "\$@"; do pgrep -f -- "quorate server .*--data $data/\$name "; done; }
told() { grep -hE -- "\$1" "$data"/?.log | sort; }
step() { awk -v number="\${1:-1}." '/^## /{shown = (\$2 == number)} shown' "$here/README.md"; }
step 1
RC
}

shell_of() { printf 'exec bash --noprofile --rcfile %q -i' "$data/$1.rc"; }

# Splits the pane of the second argument, with the options that follow, to make that of the first.
split() {
    local name=$1 of=$2
    shift 2
    panes[$name]=$(tmux split-window -d -P -F '#{pane_id}' -t "${panes[$of]}" "$@" "$(shell_of "$name")")
}

# Two rows of three nodes above the shell.
open_panes() {
    local lines columns name
    read -r lines columns < <(stty size 2>/dev/null || echo 50 200)
    panes[shell]=$(tmux new-session -d -P -F '#{pane_id}' -x "$columns" -y "$lines" "$(shell_of shell)")
    split a shell -b -v -l 60%
    split d a -v -l 50%
    split b a -h -l 67%
    split c b -h -l 50%
    split e d -h -l 67%
    split f e -h -l 50%
    tmux set-option -g mouse on
    tmux set-option -g status off
    tmux set-option -g pane-border-status top
    tmux set-option -g pane-border-format ' #{pane_title} '
    for name in "${names[@]}"; do tmux select-pane -t "${panes[$name]}" -T "node $name  ${addresses[$name]}"; done
    tmux select-pane -t "${panes[shell]}" -T 'type here: step 1 to step 7 say what; Ctrl-D ends everything'
    # When the shell ends, everything does.
    tmux set-hook -g pane-exited "if-shell -F '#{==:#{hook_pane},${panes[shell]}}' kill-server"
}

# The first node starts the cluster; the others apply to it, and ask again until it listens.
start_nodes() {
    local name
    for name in "${names[@]}"; do tmux send-keys -t "${panes[$name]}" node Enter; done
}

write_shells
open_panes
start_nodes
tmux attach-session
