#!/usr/bin/env bash
# Installs the system packages that are missing, and leaves alone what is there.
#
#   scripts/system_packages.sh [python] [sound] [speed] [browser]
#
# python   Python 3.11 or newer that can make a virtual environment; PYTHON names it
# sound    libfluidsynth and a General MIDI SoundFont
# speed    a C compiler, which builds musiclstm/core; without it composing is slower
# browser  Chromium for the tests of the page; they are skipped where it cannot be had
#
# Knows apt (with sudo when not root) and Homebrew. Elsewhere one sentence says what to install.
set -euo pipefail

PYTHON="${PYTHON:-python3}"

fail() { echo "error: $*" >&2; exit 1; }

has() { command -v "$1" >/dev/null 2>&1; }

# -- What is there? ------------------------------------------------------------------------------

has_python() { has "$PYTHON" && "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null; }

has_library() {
  "$PYTHON" -c "from ctypes.util import find_library; exit(not find_library('$1'))" 2>/dev/null
}

has_fluidsynth() {
  if has brew; then brew list fluid-synth >/dev/null 2>&1; else has_library fluidsynth; fi
}

has_soundfont() {
  [ -z "${MUSICLSTM_SOUNDFONT:-}" ] || return 0
  ! has brew || return 0  # Homebrew's fluid-synth brings a small SoundFont of its own
  local folder
  for folder in /usr{,/local}/share/{sounds/sf2,sounds/sf3,soundfonts}; do
    [ -z "$(find "$folder/" -name '*.sf[23]' 2>/dev/null)" ] || return 0
  done
  return 1
}

has_compiler() { has cc || has gcc || has clang; }

# What the page without a server plays; cut into one file a program by scripts/cut_soundfont.py.
has_page_sound() { dpkg -s fluidr3mono-gm-soundfont > /dev/null 2>&1; }

has_chromium() { has chromium || has chromium-browser || has google-chrome; }

missing() {  # a missing browser is never a reason to stop: see install_browser
  local thing
  for thing in "$@"; do
    case "$thing" in
      python) has_python || echo python ;;
      sound) has_fluidsynth || echo fluidsynth; has_soundfont || echo soundfont ;;
    esac
  done
}

# -- Debian, Ubuntu ------------------------------------------------------------------------------

as_root() { if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi; }

apt_install() {
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"
}

apt_offers() { [[ "$(apt-cache policy "$1")" == *"Candidate: "[!\(]* ]]; }

apt_package() {
  case "$1" in
    python) echo "$(basename "$PYTHON")-venv" ;;
    fluidsynth) echo libfluidsynth3 ;;
    soundfont)
      if apt_offers timgm6mb-soundfont && ! apt_offers fluid-soundfont-gm; then
        echo timgm6mb-soundfont
      else
        echo fluid-soundfont-gm
      fi ;;
  esac
}

apt_packages() { local thing; for thing in "$@"; do apt_package "$thing"; done; }

install_with_apt() {
  [ "$(id -u)" -eq 0 ] || has sudo || fail "without root or sudo this cannot be installed here;" \
    "ask for: apt install $(apt_packages "$@" | xargs) (make SOUND=no … goes on without sound)."
  as_root apt-get update || true  # one broken source must not stop the others
  apt_install $(apt_packages "$@")
}

install_compiler() {  # never a reason to stop: see musiclstm/core/native.py
  if has apt-get && ! has_compiler && { [ "$(id -u)" -eq 0 ] || has sudo; }; then
    { as_root apt-get update && apt_install gcc libc6-dev; } || true
  fi
  has_compiler || echo "No C compiler is here: composing uses WebAssembly, which is slower."
}

# Ubuntu has Chromium as a snap only; there the tests of the page are skipped, and say so.
# Playwright, which steers it, brings a program that needs libatomic.
install_browser() {
  if grep -qs '^ID=debian' /etc/os-release &&
    ! { has_chromium && has_library atomic && has_page_sound; }; then
    { as_root apt-get update && apt_install chromium libatomic1 fluidr3mono-gm-soundfont; } || true
  fi
  has_chromium || echo "Chromium is not here: the tests of the page in a browser are skipped."
}

# -- macOS ---------------------------------------------------------------------------------------

install_with_brew() {
  local thing
  for thing in "$@"; do
    case "$thing" in
      python) brew install python@3.12 ;;
      fluidsynth) brew install fluid-synth ;;
    esac
  done
}

# ------------------------------------------------------------------------------------------------

for thing in "$@"; do
  case "$thing" in
    python | sound | speed | browser) ;;
    *) fail "'$thing' is none of python, sound, speed, browser." ;;
  esac
done
[ "$PYTHON" = python3 ] || has "$PYTHON" || fail \
  "there is no '$PYTHON' here; install it, or name another: make PYTHON=python3.12 …"
read -ra wanted <<<"$(missing "$@" | xargs)"
if [ "${#wanted[@]}" -gt 0 ]; then
  echo "Not on this system yet: ${wanted[*]}"
  if has apt-get; then install_with_apt "${wanted[@]}"
  elif has brew; then install_with_brew "${wanted[@]}"
  else fail "please install ${wanted[*]} with your system's package manager, then try again" \
    "(make SOUND=no … goes on without sound)."
  fi
fi
"$PYTHON" -c 'import sys; exit(sys.version_info < (3, 11))' || fail \
  "Python 3.11 or newer is needed and '$PYTHON' is older; name another: make PYTHON=python3.12 …"
case " $* " in *" speed "*) install_compiler ;; esac
case " $* " in *" browser "*) install_browser ;; esac
