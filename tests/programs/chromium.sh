# Renders a page that draws, allocates, grows memory and starts a worker, as DOM and as a picture.
# SANDBOX is empty or --no-sandbox, FILTER the strictest seccomp mode that the browser's processes
# must have.
browse() {
	# shellcheck disable=SC2086
	chromium-headless-shell $SANDBOX --headless --disable-gpu --disable-quic --no-first-run --disable-sync \
		--disable-background-networking --disable-component-update \
		--timeout=120000 --virtual-time-budget=30000 "$@" "file://$PWD/page.html"
}
strictest_filter() {
	for process in $(pgrep -g 0 chromium); do
		cat "/proc/$process/status" 2>/dev/null || true
	done | sed -n 's/^Seccomp:.//p' | sort -n | tail -n 1
}

browse --user-data-dir="$PWD/first" --dump-dom >dom 2>log || { cat log; exit 1; }
grep -o 'red [0-9].*' dom || { cat dom log; exit 1; }
browse --user-data-dir="$PWD/second" --window-size=400,300 --screenshot="$PWD/picture.png" >log 2>&1 &
browser=$!
filter=0
while kill -0 $browser 2>/dev/null; do
	now=$(strictest_filter)
	[ "${now:-0}" -le $filter ] || filter=$now
done
wait $browser || { cat log; exit 1; }
echo "seccomp $filter"
[ "$filter" = "$FILTER" ]
# Format, width and height. The pixels depend on the machine's fonts.
head -c 24 picture.png | cksum
