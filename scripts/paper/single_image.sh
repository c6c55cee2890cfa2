#!/usr/bin/env bash
# One painting and one photograph, CUT's pair, with the published flags: FSeSim on 4,7,9 and the rest of --model sinsc's
# defaults. DIRECTION=BtoA goes the other way, from the photograph to the painting.
. "$(dirname "$0")/common.sh"
fetch single_image_monet_etretat
train --model sinsc --pool_size 0 --direction "${DIRECTION:-AtoB}"
translate --model sinsc --direction "${DIRECTION:-AtoB}"
echo "The paper shows pictures: look at $images/fake_B"
