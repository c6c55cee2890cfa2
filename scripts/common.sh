# Sourced by the scripts beside it. They take
#     bash scripts/train_cut.sh DATAROOT NAME [FLAGS]     FLAGS go to the program; what is typed last counts
#     bash scripts/train_cut.sh --demo [FLAGS]            minutes on the bundled images, as the experiment demo_cut
# print the command that they run, and run it with .venv's Python or, where there is none, with python3.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"  # sh may be another shell
set -euo pipefail
from=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."

before=()    # words before Python, and
launcher=()  # between Python and the program: what starts several processes

# start DEMO_DATAROOT ARGUMENTS...: read what the user typed.
start() {
    script=${script:-$(basename "$0" .sh)}
    demo=no
    if [ "${2:-}" = --demo ]; then
        demo=yes
        place=(--dataroot "$1" --name "demo_${script#*_}") typed=("${@:3}")
    elif [ $# -ge 3 ] && [[ $2 != -* ]] && [[ $3 != -* ]]; then
        local data=$2
        if [ ! -e "$data" ] && [ -e "$from/$data" ]; then data=$from/$data; fi  # typed in another folder
        place=(--dataroot "$data" --name "$3") typed=("${@:4}")
    else
        echo "usage: bash scripts/$script.sh DATAROOT NAME [FLAGS], or --demo [FLAGS]" >&2
        case ${2:-} in -h | --help) exit 0 ;; esac
        exit 2
    fi
}

# The size at which a CPU learns drawings in minutes: small networks and a high rate; whole drawings at their own size,
# because a crop does not tell inside from outside.
small=(--preprocess none --ngf 16 --ndf 32 --no_antialias --init_type normal --lr 0.0008 --ema 0.99
    --n_epochs 2 --n_epochs_decay 2 --print_freq 200 --save_latest_freq 800)

# train FLAGS... [-- FLAGS OF THE DEMO ALONE...]: run train.py, or with how=say only print the command.
train() {
    local flags=() rest=no word
    for word in "$@"; do
        if [ "$word" = -- ]; then rest=yes; elif [ $rest = no ] || [ $demo = yes ]; then flags+=("$word"); fi
    done
    [ $demo = no ] || flags=("${small[@]}" "${flags[@]}")
    "${how:-run}" train.py "${flags[@]}"
}

# run PROGRAM FLAGS...: say it and do it; what the user typed comes last.
run() {
    say "$@"
    exec "${command[@]}"
}

# say PROGRAM FLAGS...: print the command, and leave it in $command.
say() {
    local python=.venv/bin/python
    [ -x $python ] || python=python3
    command=(${before[@]+"${before[@]}"} "$python" ${launcher[@]+"${launcher[@]}"} "$1" "${place[@]}" "${@:2}"
        ${typed[@]+"${typed[@]}"})
    printf '$ %s\n' "$(printf '%q ' "${command[@]}")"
}
