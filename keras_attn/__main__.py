"""`python -m keras_attn VERB` is `keras-attn VERB`."""

import sys

from keras_attn.cli.parser import main

sys.exit(main())
