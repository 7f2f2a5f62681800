"""What a filter over events may name: the feed's, a webhook's, a subscription's."""

from mainspring.cel.types import Names, Type

# Personal fields are sealed to it: no filter finds them out.
EVENT_NAMES = Names(
    record={
        "id": Type.TEXT,
        "type": Type.TEXT,
        "source": Type.TEXT,
        "subject": Type.TEXT,
        "time": Type.TIME,
        "actor": Type.TEXT,
        "impersonator": Type.TEXT,
        "correlationid": Type.TEXT,
        "causationid": Type.TEXT,
        "seq": Type.INT,
        "data": Type.JSON,
    }
)
