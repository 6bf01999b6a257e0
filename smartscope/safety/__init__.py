"""The safety ladder: gate and dose ledger, light off on every exit path, watchdog thread, supervisor process.

The rungs, from the first to the last that software can offer: ``gate`` (every live command) and ``plan_gate`` (every
planned part), which ask ``walls``, ``limits`` and ``ledger``; ``signals`` (light off however the run ends);
``watchdog`` (a silent thread); ``supervisor`` (a process of its own, reached through ``link`` and ``lease``).
``lights`` puts the light lines together, ``hand_over`` rehearses them. The laboratory's hardware interlock comes
after all these and is not replaced by them.
"""
