import Image from 'next/image';

export default function Picture() {
  return <Image id="photo" src="/photo.png" alt="a pattern" width={128} height={128} />;
}
