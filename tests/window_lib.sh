# Drives the real window on a virtual display with the keyboard, as a person would. Sourced by tests/window.sh and
# packaging/screenshots.sh. Needs Xvfb, xdotool and ImageMagick.

# start_display WIDTH HEIGHT
start_display() {
    local number=90
    while [ -e "/tmp/.X11-unix/X$number" ]; do number=$((number + 1)); done
    export DISPLAY=:$number
    # Without -noreset the server starts over when its last client leaves, as the probe below does, and meanwhile refuses the next one.
    Xvfb "$DISPLAY" -screen 0 "${1}x${2}x24" -nolisten tcp -noreset >/dev/null 2>&1 &
    display_pid=$!
    for _ in $(seq 100); do
        xdotool getdisplaygeometry >/dev/null 2>&1 && return
        sleep 0.1
    done
    echo "error: no virtual display" >&2
    return 1
}

# start_window WORK_DIR WIDTH HEIGHT [PLANISH_ARGUMENT…]: settings, history and the log live in WORK_DIR.
start_window() {
    local work=$1 width=$2 height=$3
    shift 3
    # Without a session bus rfd falls back to zenity, which a test can fake; with one it would wait for a portal.
    env -u WAYLAND_DISPLAY -u DBUS_SESSION_BUS_ADDRESS XDG_CONFIG_HOME="$work/config" PATH="$work/bin:$PATH" \
        PLANISH_HISTORY="$work/history.sqlite3" \
        PLANISH_LOG=planish=info LIBGL_ALWAYS_SOFTWARE=1 "$PLANISH" "$@" >"$work/stdout" 2>"$work/log" &
    window_pid=$!
    for _ in $(seq 300); do
        window=$(xdotool search --onlyvisible --pid "$window_pid" 2>/dev/null | tail -n 1) && [ -n "$window" ] && break
        kill -0 "$window_pid" 2>/dev/null || { cat "$work/log" >&2; echo "error: the window did not open" >&2; return 1; }
        sleep 0.1
    done
    [ -n "$window" ] || { echo "error: no window after 30 s" >&2; return 1; }
    xdotool windowmove "$window" 0 0 windowsize --sync "$window" "$width" "$height" 2>/dev/null || true
    xdotool windowfocus "$window" 2>/dev/null || true
}

press() {
    xdotool key --window "$window" --clearmodifiers "$1"
    sleep 0.3
}

# wait_title SECONDS PATTERN: until the title matches the extended regular expression.
wait_title() {
    local title=
    for _ in $(seq $(($1 * 5))); do
        title=$(xdotool getwindowname "$window" 2>/dev/null || true)
        [[ $title =~ $2 ]] && return
        kill -0 "$window_pid" 2>/dev/null || { echo "error: the window died, its last title was: $title" >&2; return 1; }
        sleep 0.2
    done
    echo "error: after $1 s the title is still: $title (wanted: $2)" >&2
    return 1
}

# wait_file SECONDS FILE: until a job has delivered it; short jobs may come and go between two looks at the title.
wait_file() {
    for _ in $(seq $(($1 * 5))); do
        [ -s "$2" ] && return
        sleep 0.2
    done
    echo "error: after $1 s there is no $2" >&2
    return 1
}

# wait_idle SECONDS: until no job is running.
wait_idle() { wait_title "$1" '^Planish( · [^·]*)?$'; }

# shot FILE: the whole display; fails when it shows next to nothing.
shot() {
    sleep 0.5
    import -silent -window root "$1"
    local colours
    colours=$(identify -format %k "$1")
    [ "$colours" -gt 100 ] || { echo "error: $1 has only $colours colours" >&2; return 1; }
}

# close_window: presses Ctrl+Q; fails unless the program ends with status 0.
close_window() {
    press ctrl+q
    for _ in $(seq 100); do
        kill -0 "$window_pid" 2>/dev/null || { wait "$window_pid"; return; }
        sleep 0.1
    done
    echo "error: the window does not close, its title is: $(xdotool getwindowname "$window" 2>/dev/null || true)" >&2
    return 1
}

stop_all() {
    # Runs in an EXIT trap under `set -e`: a process that has ended already must not make a passed test fail.
    kill ${window_pid:+"$window_pid"} ${display_pid:+"$display_pid"} 2>/dev/null || true
}
