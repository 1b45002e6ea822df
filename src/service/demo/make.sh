#!/usr/bin/env bash
# Makes loop.flv, the built-in test stream, with ffmpeg (libx264): 8 seconds of a moving picture and
# tones, cut so that they can be repeated for ever. Two runs of one ffmpeg give the same file.
set -euo pipefail
cd "$(dirname "$0")"

# 200 pictures at 25/s are 8000 ms. AAC frames of 1024 samples at 32 kHz are 32 ms, and 250 of them
# are 8000 ms too: sound and picture end together. The encoder adds one frame in front, which
# `-itsoffset` moves to 0; `t+0.032` takes the delay back.
seconds=8
samples=$((249 * 1024))

# Whatever moves repeats within the 8 seconds, so the seam cannot be seen or heard. What is behind
# it stands still, which is a third of the bytes. The bar at the
# bottom runs once a second; in its middle the dot flashes and a beep sounds (lip-sync).
dot="hypot(X-160-120*sin(2*PI*T/8),Y-72-38*sin(2*PI*T/4))"
flash="between(mod(T,1),0.48,0.6)"
picture="geq=\
lum='clip(60+26*sin(2*PI*(X/160))*cos(2*PI*(Y/180))\
+100*lt($dot,20)+70*lt($dot,20)*$flash\
+130*between(Y,152,164)*lt(X-24,272*mod(T,1))*between(X,24,296)\
+40*(between(Y,148,168)*between(X,20,300)),16,235)':\
cb='128+46*sin(2*PI*(X/320))':\
cr='128+46*cos(2*PI*(Y/180))'"
# The chord swells every 2 seconds and is silent at the seam, where the first frame of the encoder is.
sound="(0.06*sin(2*PI*220*(t+0.032))+0.05*sin(2*PI*277*(t+0.032)))*pow(sin(PI*(t+0.032)/2),2)\
+0.25*sin(2*PI*880*(t+0.032))*between(mod(t+0.032,1),0.48,0.6)"

"${FFMPEG:-ffmpeg}" -v error -y -threads 1 -filter_threads 1 \
    -f lavfi -i "color=black:s=320x180:r=25:d=$seconds,format=yuv420p,$picture" \
    -itsoffset 0.032 -f lavfi -i "aevalsrc='$sound':s=32000:c=mono,atrim=end_sample=$samples" \
    -c:v libx264 -threads 1 -profile:v baseline -preset veryslow -crf 29 -pix_fmt yuv420p \
    -g 50 -keyint_min 50 -sc_threshold 0 -bf 0 -refs 2 -bsf:v filter_units=remove_types=6 \
    -c:a aac -b:a 16k -fflags +bitexact -flags +bitexact -map_metadata -1 \
    -f flv -flvflags no_duration_filesize+no_sequence_end loop.flv
ls -l loop.flv
