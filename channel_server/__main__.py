import sys

from channel_server.main import main

sys.exit(main())
